"""Entry point. Kept to two lines of work: a script is compiled at every start, the package's modules are not."""

import sys

from kipper_runtime.start import main

if __name__ == "__main__":
    # The function must not find the wrapper's folder in front of its own modules.
    del sys.path[0]
    main()
