"""The command line: `python cli.py --help`. The same as the console script `gestalt`."""

from commands.main import main

if __name__ == "__main__":
    main()
