"""What the modules' documentation has in common."""

from __future__ import annotations


class ModuleDocFragment:
    """Options and requirements that every module has."""

    DOCUMENTATION = r"""
options:
  store:
    description:
      - The folder where snapplan keeps its records.
      - Where it is left out, it is C($SNAPPLAN_STORE), else the state folder of the user that the task runs as.
    type: path
requirements:
  - python >= 3.11
  - snapplan
author:
  - The snapplan authors (@snapplan)
"""
