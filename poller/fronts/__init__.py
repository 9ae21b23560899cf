"""Functions over plain HTTP: function URLs (A.5), and the HTTP and REST APIs of the template (A.6)."""
