"""What each rule waits for, is told, runs and needs. No job imports this."""
