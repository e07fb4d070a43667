"""The one error tree. A message says what is wrong, where, and what to do, in one line."""


class SmartPhaseError(Exception):
    """Base of every error that SmartPhase raises on purpose."""


class FeederFolderError(SmartPhaseError):
    """A feeder folder that cannot be taken: names the file, the row and the reason."""


class FlowError(SmartPhaseError):
    """A power flow that cannot be had: no solution, no radial feeder, or values that are no powers."""
