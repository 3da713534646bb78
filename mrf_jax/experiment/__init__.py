"""Meaning of a configuration: its checks, variants, subjects and workdirs."""
