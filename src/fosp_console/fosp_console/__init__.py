"""An operator's console in the browser: shows the running graph, and takes the orders of a person with the token."""
