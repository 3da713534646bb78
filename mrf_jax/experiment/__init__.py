"""What a configuration means: checks, variants, subjects and workdirs."""
