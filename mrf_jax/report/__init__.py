"""Report of a study: its results on one page, read from its workdirs."""
