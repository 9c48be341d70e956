"""The routes, one module per theme; each makes a router for a service."""
