"""One module per REST resource. A route parses, authorises, calls one function and answers."""
