"""Nothing here is a test, and each module imports a framework."""

collect_ignore_glob = ["*.py"]
