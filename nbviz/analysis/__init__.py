"""What a network computes, as numbers and arrays: torch and numpy only, no widget and no notebook."""
