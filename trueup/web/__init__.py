"""What people see of a report: one HTML page, a terminal summary, a notebook frame."""
