"""From a model file to a build folder: the steps in order, and what is done with a finished build."""
