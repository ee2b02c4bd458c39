"""Engine that answers the requests of several users together on one machine. It knows nothing of HTTP."""
