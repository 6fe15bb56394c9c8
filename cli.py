"""The command line: `python cli.py --help`. Also installed as `gestalt`."""

from commands.main import main

if __name__ == "__main__":
    main()
