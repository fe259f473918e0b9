"""Questions about whole runs, one pure function each."""
