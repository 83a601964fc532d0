"""The parts of the evaluation report: a module for each section or two, which draws numbers computed beside."""
