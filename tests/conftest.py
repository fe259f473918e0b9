"""The same examples every time: a change is judged by what it changed. `HYPOTHESIS_PROFILE=search` draws new ones."""

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("search", derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
