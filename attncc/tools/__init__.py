"""Tools on top of the runtime that the command line and the tests share: pictures of masks, timing, checking of files."""
