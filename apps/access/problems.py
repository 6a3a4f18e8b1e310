"""The kinds of trouble that the access room raises; alerts decides who hears of them and when."""

from apps.alerts.problem import Problem

PROBLEMS: tuple[Problem, ...] = ()
