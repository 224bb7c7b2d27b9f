"""What the definitions are made from: rules, pictures and I/O managers, without any definition."""
