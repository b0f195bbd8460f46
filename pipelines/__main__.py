"""`python -m florilegium.pipelines` is the command line, for places without its script on the path."""

from .cli import main

if __name__ == "__main__":
    main()
