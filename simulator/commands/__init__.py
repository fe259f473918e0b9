"""Commands of the command line, one file each: parse, call, print. Heavy modules are imported inside them."""
