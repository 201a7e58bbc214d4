# Prints the folder of the running system, whose file `env` the tasks of deno.json read: ORDERFLOW_HOME, from the
# environment or from .env, or .orderflow. The shell of `deno task` itself knows no default for a variable.
home=${ORDERFLOW_HOME:-$(sed -n "s/^ORDERFLOW_HOME=['\"]\{0,1\}\([^'\"]*\).*/\1/p" .env 2>/dev/null | tail -n 1)}
echo "${home:-.orderflow}"
