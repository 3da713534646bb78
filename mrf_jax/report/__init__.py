"""A study's results in one page, from the workdirs that its commands left."""
