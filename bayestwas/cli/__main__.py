"""python -m bayestwas.cli"""

from __future__ import annotations

from bayestwas.cli import main

main()
