"""What sets the runs of some folders apart, and what that did to the result."""
