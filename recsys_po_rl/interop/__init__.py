"""Doors to the simulation for other libraries; importing the package registers the Gymnasium environments."""

import importlib.util

if importlib.util.find_spec("gymnasium") is not None:
    from recsys_po_rl.interop.gymnasium import register

    register()
