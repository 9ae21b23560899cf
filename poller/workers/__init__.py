"""Several processes of one service on one machine: a supervisor that reads nothing itself, and workers that do."""
