"""What a reader sees: tables, the overview page, the methods text."""
