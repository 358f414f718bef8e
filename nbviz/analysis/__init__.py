"""What a network computes, as numbers and arrays: torch and numpy, no widget, no notebook."""
