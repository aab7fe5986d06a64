"""The main job: models and text in, one report out, through a list of steps that later methods join by adding an
entry.
"""

from unweave.study.config import StudyConfig as StudyConfig
from unweave.study.flow import StudyResult as StudyResult
from unweave.study.flow import run_study as run_study
