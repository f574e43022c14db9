"""Time, memory and energy."""
