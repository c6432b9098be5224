"""novum_rl"""
