"""What the program prints: a plan as text, as JSON, as a page; the catalogue as text. Values in, text out."""
