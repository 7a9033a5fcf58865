"""A search whose trainings last for moments."""

from dataclasses import replace

from trainer.learning.options import Options

OPTIONS = replace(Options().quick(), teacher_updates=12, student_updates=12, boosting_rounds=4)
