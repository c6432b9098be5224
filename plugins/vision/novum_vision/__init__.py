"""novum_vision"""
