"""One function a command: a request in, a result out."""
