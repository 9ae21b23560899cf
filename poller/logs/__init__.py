"""Functions' logs in files: a folder for each log group, a file for each log stream."""
