"""The same numbers, sooner: a test holds each fast part equal to the plain one."""
