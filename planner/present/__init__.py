"""Values into what a person or a program reads: text, JSON, Mermaid, DOT, QMP.  No I/O here."""
