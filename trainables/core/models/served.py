"""Former place of the loader of registered models."""

# Models registered before the loader moved name this module in their MLmodel file. MLflow imports it from here whenever
# this version of the package is already imported, so it must stay as long as such models are in use.
from trainables.core.serving.ensemble import _load_pyfunc as _load_pyfunc
