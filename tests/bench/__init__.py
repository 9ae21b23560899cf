"""`make bench`: what the program does in a second, each figure beside a floor measured in the same run."""
