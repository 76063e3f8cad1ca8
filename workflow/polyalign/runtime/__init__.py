"""How a job runs. No result may depend on it, so it is not part of the code hash."""
