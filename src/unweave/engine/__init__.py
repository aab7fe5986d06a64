"""Where work runs. `local` runs units on the threads of this process."""
