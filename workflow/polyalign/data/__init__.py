"""Tables: keys, files, specifications, prompts, preference pairs."""
