"""The fosp stack as data, its lifecycle manager, launch files and the fosp command line."""
