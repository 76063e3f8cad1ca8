"""What a policy is worth: levels, win rates, and the tables and page that a reader sees."""
