# What makes a node of a test cluster: container runtime, kubelet, scheduler, Services, DNS. Sourced by init.sh, whose
# variables it uses. Whatever these programs would leave on the machine goes into this mount namespace's own memory,
# below $dir, or below the cluster's own control group.

# Control groups as seen from the cluster's own: what is made at their root is then below it.
sed -n 's|^[^ ]* \(/sys/fs/cgroup[^ ]*\) \(cgroup2\{0,1\}\) \([^ ]*\) .*|\1 \2 \3|p' /proc/self/mounts >/run/hierarchies
while read -r place type options; do
    umount -l "$place"
    [ "$type" = cgroup ] || options=rw
    mount -t "$type" -o "$options" "$type" "$place"
done </run/hierarchies
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    # Version 2 wants no process in a group that has others below it.
    mkdir /sys/fs/cgroup/programs
    echo 0 >/sys/fs/cgroup/programs/cgroup.procs
fi

# The container runtime, the kubelet and the network plugins have places of their own; on the machine itself, not one
# file may be of ours.
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /var/log
# The kubelet wants these settings of the kernel, which are the whole machine's: it finds them as it wants them.
kernel_setting() {
    mkdir -p /run/kernel
    echo "$2" >"/run/kernel/$(basename "$1")"
    mount --bind "/run/kernel/$(basename "$1")" "/proc/sys/$1"
}
kernel_setting vm/overcommit_memory 1
kernel_setting vm/panic_on_oom 0
kernel_setting kernel/panic 10
kernel_setting kernel/panic_on_oops 1
kernel_setting kernel/keys/root_maxkeys 1000000
kernel_setting kernel/keys/root_maxbytes 25000000
echo 1 >/proc/sys/net/ipv4/ip_forward

mkdir -p /run/cni "$dir/kubelet" "$dir/containerd" "$dir/pods"

cat >/run/cni/pods.conflist <<END
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {
    "type": "host-local", "dataDir": "/run/cni/addresses",
    "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
# Processes in a container may not be less likely to be killed than their parent, whose score we may not lower.
cat >/run/containerd.toml <<END
version = 2
root = "$dir/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "reveille.test/sandbox:1"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/run/cni"
END
containerd --config /run/containerd.toml >"$dir/containerd.log" 2>&1 &

# Anyone who can reach the kubelet may use it, and nobody outside this network namespace can.
cat >/run/kubelet.yaml <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDomain: cluster.local
clusterDNS: [$node]
resolvConf: ""
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
evictionHard: {}
imageGCHighThresholdPercent: 100
oomScoreAdj: 0
podLogsDir: $dir/pods
containerLogMaxSize: 1Gi
volumePluginDir: /run/volume-plugins
END
(
    until [ -S /run/containerd/containerd.sock ]; do sleep 0.05; done
    ctr -n k8s.io images import "$bin/sandbox.tar"
    when_certified "$bin/kubelet" --config /run/kubelet.yaml --kubeconfig "$dir/admin-inside.yaml" \
        --root-dir "$dir/kubelet" --cert-dir "$dir/kubelet/pki" --hostname-override node --node-ip "$node"
) >"$dir/kubelet.log" 2>&1 &

when_certified "$bin/kube-scheduler" --kubeconfig "$dir/admin-inside.yaml" --leader-elect=false --secure-port 0 \
    >"$dir/scheduler.log" 2>&1 &

cat >/run/kube-proxy.yaml <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: node
clientConnection: {kubeconfig: "$dir/admin-inside.yaml"}
conntrack: {maxPerCore: 0}
END
when_certified "$bin/kube-proxy" --config /run/kube-proxy.yaml >"$dir/kube-proxy.log" 2>&1 &

cat >/run/Corefile <<END
. {
    bind $node
    errors
    ready $node:8181
    kubernetes cluster.local {
        kubeconfig $dir/admin-inside.yaml
    }
}
END
when_certified "$bin/coredns" -conf /run/Corefile >"$dir/coredns.log" 2>&1 &
