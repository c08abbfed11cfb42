"""``minimta package``: the project as a Debian package, made by dpkg-deb(1) alone."""
