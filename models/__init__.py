"""Reference models and the data to train and check them."""
