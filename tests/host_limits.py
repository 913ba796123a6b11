"""What agents of the tests may use of this host: the servers of the tests keep their files in any folder."""

from dbaudit.core.host_limits import HostLimits

ANY_FOLDER = HostLimits(local_paths=("/",))
ANY_FOLDER_VARIABLE = {"DBAUDIT_LOCAL_PATHS": "/"}
