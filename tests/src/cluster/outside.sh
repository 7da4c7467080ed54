# Holds a test cluster from outside: gives it namespaces of its own, waits for its end, however that comes, and clears
# away what outlives its processes. Arguments: directory of the programs, directory of the state, level
# (`control-plane` or `node`), and what `unshare` is to be told.
set -eu
bin=$1
dir=$2
level=$3
shift 3
group=$(basename "$dir")

# Every hierarchy of control groups, whichever version.
hierarchies=$(sed -n 's|^[^ ]* \(/sys/fs/cgroup[^ ]*\) cgroup2\{0,1\} .*|\1|p' /proc/self/mounts)

# Puts this process, and all that it starts, into a group of the cluster's own.
enter_group() {
    for hierarchy in $hierarchies; do
        mkdir "$hierarchy/$group"
        for file in cpuset.cpus cpuset.mems; do
            # Version 1 lets nobody into a group that has no processors yet.
            [ ! -e "$hierarchy/cgroup.clone_children" ] || [ ! -e "$hierarchy/$file" ] ||
                cat "$hierarchy/$file" >"$hierarchy/$group/$file"
        done
        echo 0 >"$hierarchy/$group/cgroup.procs"
    done
}

(
    if [ "$level" = node ]; then
        enter_group
        set -- --cgroup "$@"
    fi
    exec unshare "$@" sh "$(dirname "$0")/init.sh" "$bin" "$dir" "$level"
) && status=0 || status=$?

for hierarchy in $hierarchies; do
    [ ! -d "$hierarchy/$group" ] || find "$hierarchy/$group" -depth -type d -exec rmdir {} +
done
rm -rf "$dir"
exit "$status"
